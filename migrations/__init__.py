"""The history of every service's database: one folder per service, one file per revision."""
