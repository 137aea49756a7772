"""The page at `/`: shows what the server holds, and lets a person act on it.

Three files go to the browser as they are. Everything else lies under `/page/`, apart from the API:
what may be asked there, and by whom, says `access.py`.
"""
