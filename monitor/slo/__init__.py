"""Pure SLO mathematics and alert state: time is an argument, only values go out."""
