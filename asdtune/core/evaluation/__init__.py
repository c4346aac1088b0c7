"""How a network is judged, and the page that shows it."""
