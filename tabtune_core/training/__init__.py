"""Training: plan, session, episodes, optimizer, loop, memory meters and scoring."""
