"""Training: device, memory meters, optimizer, loop and scoring."""
