"""One kind of credential each, unaware of the others and of what an application may call."""
