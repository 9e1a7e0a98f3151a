"""The site: pages of docs/ and pages made from the program, as sources for Sphinx.

`python -m docs.sitemaker FOLDER` writes the sources to FOLDER-source and the site to FOLDER.
"""
