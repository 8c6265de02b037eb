"""Schema migrations; an __init__ so that the installed wheel can find them."""
