"""Filters of endpoints: conditions on the data of an event, in the notation of Hookdeck's Outpost.

``notation`` parses a filter and reports all errors, ``matching`` compiles it to a fast function, ``explaining``
lists the conditions that an event does not meet. None of them does I/O.
"""
