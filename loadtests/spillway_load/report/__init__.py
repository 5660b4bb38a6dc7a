"""What a run came to, for people: a few lines of text, and a page that needs nothing but itself."""
