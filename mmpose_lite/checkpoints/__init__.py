"""Files of weights: fetched, read without running what they say, brought into a model, written whole or not at all."""
