"""What a person sees of a run: the report as HTML, the live view and the result in the terminal."""
