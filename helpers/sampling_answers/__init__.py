"""What the sampling explorer shows, in plain JSON values: the installed library's answers, small enough for a page."""
