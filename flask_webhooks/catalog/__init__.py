"""The event types that an application can send: built in, added by the host, with their schemas."""
