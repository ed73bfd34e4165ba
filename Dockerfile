# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements-run.lock ./
RUN python -m venv /opt/slo-monitor \
 && /opt/slo-monitor/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md CHANGELOG.md ./
COPY monitor ./monitor
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir hatchling build \
 && /opt/build/bin/python -m build --wheel --no-isolation --outdir /dist \
 && /opt/slo-monitor/bin/pip install --no-cache-dir --no-deps /dist/*.whl \
 && /opt/slo-monitor/bin/pip uninstall --yes pip

FROM python:3.13-slim
COPY --from=build /opt/slo-monitor /opt/slo-monitor
ENV PATH=/opt/slo-monitor/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Numeric, so that runAsNonRoot can be checked; /data is the only place written to.
RUN install -d -o 10001 -g 10001 /data
USER 10001:10001
WORKDIR /etc/slo-monitor
VOLUME /data
EXPOSE 9911
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["monitor", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["monitor"]
# Loopback would be this container only; who may reach the port is the network's business.
CMD ["run", "--config", "/etc/slo-monitor/monitor.yml", "--data", "/data", "--listen", "0.0.0.0:9911"]
