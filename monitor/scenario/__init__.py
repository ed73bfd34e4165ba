"""The same application on virtual time against a scripted world: for tests and `monitor test`."""
