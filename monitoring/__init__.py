"""Rules, alerts and routes of a site's monitoring, what proves them, and the scrape of a running lab."""
