"""Tests in a real browser: the distribution's Chromium, driven by Playwright."""
