"""Pure batched functions on tensors and arrays. Import the module you need; nothing is re-exported here."""
