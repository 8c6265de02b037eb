"""The REST API `/api/v1`: one file for each noun, around what all calls have in common."""
