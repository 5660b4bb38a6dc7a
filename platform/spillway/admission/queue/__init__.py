"""In which order admitted requests wait for an engine: bands with floors, and tenants fairly within a band."""
