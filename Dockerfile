# The project as one image: Airflow with the locked packages, the DAGs and the plugin folder.
# With the Astro CLI put Astronomer's runtime image for Airflow 3 here instead; the rest of it does the same.
FROM apache/airflow:3.3.2-python3.11

USER root
COPY packages.txt /tmp/
RUN apt-get update \
 && xargs --arg-file=/tmp/packages.txt apt-get install --yes --no-install-recommends \
 && rm -rf /var/lib/apt/lists/*
USER airflow

COPY --chown=airflow:0 requirements.txt requirements.lock /tmp/
# Cython is no package of the running project, so it is in the lock only; it goes in with the same version.
RUN pip install --no-cache-dir --no-deps --requirement /tmp/requirements.txt "$(sed -n 's/^\(cython==[^ ]*\).*/\1/p' /tmp/requirements.lock)"

WORKDIR /opt/airflow
COPY --chown=airflow:0 plugins plugins
COPY --chown=airflow:0 scripts scripts
RUN python scripts/compile_extensions.py || echo "continuing without compiled helpers"
COPY --chown=airflow:0 dags dags
COPY --chown=airflow:0 include include
COPY --chown=airflow:0 airflow_settings.yaml ./
ENV PYTHONPATH=/opt/airflow/plugins:/opt/airflow
