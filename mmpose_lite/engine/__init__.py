"""Running a config: launch, runner, hooks, checkpoints, optimisers."""
