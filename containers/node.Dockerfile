# A node: `slurp run` under its crash guard. Made by containers/build.py, which puts beside this file the wheels of the
# project and of all it needs, so that nothing is downloaded while the image is built.
#
# BASE must have the Python version that the wheels were collected with (build.py sees to that).
ARG BASE
FROM ${BASE} AS installed
LABEL slurp-leader.stage=installed
COPY wheels /wheels
COPY pip.zip /pip.zip
RUN ["python3", "-m", "venv", "--without-pip", "/opt/slurp"]
# pip runs from its own wheel: the base need not have one, nor a shell.
RUN ["/opt/slurp/bin/python", "/pip.zip/pip", "install", "--no-index", "--find-links=/wheels", "--no-cache-dir", \
     "--root-user-action=ignore", "--disable-pip-version-check", "slurp-leader[cli,code]"]

FROM ${BASE}
COPY --from=installed /opt/slurp /opt/slurp
COPY healthy.py /opt/slurp/healthy.py
COPY --chown=65532:65532 workspace /workspace
ENV PATH=/opt/slurp/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 65532:65532
WORKDIR /workspace
HEALTHCHECK --interval=10s --timeout=10s --start-period=20s --retries=3 CMD ["python3", "/opt/slurp/healthy.py"]
ENTRYPOINT ["slurp"]
# The guard is process 1: when the node dies, it gives the lease back before the container ends.
CMD ["guard", "--", "slurp", "run"]
