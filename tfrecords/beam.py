"""The work of `tfrecords.write` as an Apache Beam pipeline, for collections beyond one machine.

    pip install 'apache-beam==2.77.0' 'grpcio-status==1.62.3'
    python -m tfrecords.beam --images=/mnt/photos --out=/mnt/data/photos --shards=200 -- \\
        --runner=FlinkRunner --flink_master=host:8081

The flags are those of `tfrecords.write`; those behind `--` are Beam's. Each shard is one element, so that any runner
deals them out; the bytes are those of `tfrecords.write`. Images and data folder must lie on a file system that all
workers see under the same path, and this package must be installed on them. Tried with the DirectRunner.
"""

import functools
import os
import sys

from absl import flags

from tfrecords import command
from tfrecords.shards import working, write_shard
from tfrecords.write import define_source_flags, given, report
from tfrecords.write import write as write_folder


def write(sources, out, overwrite=False, options=(), **words):
    """As `tfrecords.write.write`, its shards written by a Beam pipeline.

    Args:    options: of the pipeline, as on Beam's command line.
             the others: as there; those of the plan by keyword.
    Returns: the manifest, a dict.
    Raises:  as there; ImportError where Beam is not installed.
    """
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    def writer(plan, folder):
        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            (pipeline | apache_beam.Create(range(plan.shards))
             | apache_beam.Reshuffle()          # else a runner may take all shards for one piece of work
             | apache_beam.Map(functools.partial(_write, plan, folder)))
    return write_folder(sources, out, overwrite=overwrite, writer=writer, **words)


def _write(plan, folder, number):
    with working(folder):
        write_shard(plan, number, folder)


def main(argv):
    sources, out, words = given()
    try:
        manifest = write(sources, out, flags.FLAGS.overwrite, argv[1:], **words)
    except ImportError:
        sys.exit("error: Apache Beam is not installed; `pip install 'apache-beam==2.77.0' 'grpcio-status==1.62.3'`, or "
                 "use `python -m tfrecords.write`.")
    print("\n".join(report(manifest, os.path.expanduser(out))))


if __name__ == "__main__":
    command.run(main, define_source_flags, words=True)
