"""What sites were over time: points become hours and days, old ones go, the past is fetched, all of
it can be read and exported.
"""
