"""A cron job to make a manifest of."""

from datetime import UTC, datetime

from services.orchestrator.domain.schedule import CronJob, CronJobState, Timer

JOB = CronJob(
    sprint_id="SHOP-S01",
    project_id="SHOP",
    name="run-dailyscrum-shop-s01",
    timer=Timer("0 14 * * 1-5", "Europe/Berlin"),
    create_time=datetime(2026, 1, 5, tzinfo=UTC),
    state=CronJobState.PENDING,
)
