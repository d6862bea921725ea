"""Filters of endpoints: conditions on the data of an event, in the notation of Hookdeck's Outpost.

``notation`` reads one and says all that is wrong with it, ``matching`` makes a fast function of it, ``explaining``
says which of its conditions an event does not meet. None of them does I/O.
"""
