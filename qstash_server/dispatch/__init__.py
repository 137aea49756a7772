"""From what is due to what has happened: who goes when, the call itself, and what follows from it."""
