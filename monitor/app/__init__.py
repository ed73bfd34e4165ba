"""The composition root: the only place that knows all parts and gives them the real world."""
