"""Browser actions on MiniWoB++'s pages (paper, section 3.1; its agentic domain)."""
