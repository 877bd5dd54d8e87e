"""All that knows Airflow. Importing this package imports nothing: tasks and plugins stay quick.

Use ``from godwit.airflow.dag import migration_dags, MigrationTaskGroup``.
"""
