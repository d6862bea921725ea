"""A small licensing server that sends its webhooks with Flask-Webhooks."""
