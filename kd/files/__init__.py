"""Files: written completely or not at all, read completely or refused; text shown as text."""
