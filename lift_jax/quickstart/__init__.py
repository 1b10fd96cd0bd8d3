"""The quickstart's foundation model, and how it was made: a small CLIP of rendered glyphs."""
