"""Mail and page templates; this file keeps a `templates` folder in the current directory from winning over ours."""
