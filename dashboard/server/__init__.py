"""What answers the browser besides the pages, who may reach it, and the worker it keeps up."""
