"""The dsm command against running services."""
