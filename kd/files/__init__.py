"""Files: written completely or not at all, read whole or refused, and their text shown as text."""
