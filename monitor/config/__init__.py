"""From files to a validated Plan. The only package that reads the environment."""
