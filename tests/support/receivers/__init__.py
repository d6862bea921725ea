"""Receivers as customers of the five services have written them: each takes the steps of its service's page.

`serve.py` and `serve.js` make servers of them; `page.py` and `page.js` make servers of the code that the pages
themselves show. All print a line when they listen and one for each request.
"""
