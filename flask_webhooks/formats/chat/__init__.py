"""The formats of chat services, and what they share."""
