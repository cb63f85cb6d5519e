"""What the tools do: training and testing, the corruption sweep, OOD test sets, painted predictions."""
