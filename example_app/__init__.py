"""A small licensing server that sends its webhooks with Flask-Webhooks, and the demo around it."""
