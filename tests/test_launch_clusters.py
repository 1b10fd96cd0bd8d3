"""The launch scripts for clouds and clusters: what they would do, what they refuse, and when they start a run again.

Where a script is really run, the tools of the cloud are programs that write down what they are asked, and answer what a
cloud would.
"""

import shlex
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[1] / "launch"
SCRIPTS = ("tpu", "gke", "gpu", "slurm")
PROGRAM = ["--", "--config", "configs/inat.py", "--config.data.root=gs://bucket/my data"]
BUCKET = ["--workdir", "gs://bucket/runs/inat"]
TPU = ["--name", "lift", "--zone", "us-west4-a", "--type", "v5litepod-16", *BUCKET]
GKE = ["--name", "lift", "--type", "v5litepod-16", "--image", "eu/lift", *BUCKET]
NEEDED = {"tpu": TPU, "gke": GKE, "gpu": ["--workdir", "runs/inat"], "slurm": ["--workdir", "runs/inat"]}


@pytest.fixture
def tools(tmp_path):
    """A folder with the few programs that the scripts need, and none of a cloud's."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "cat", "tar", "gzip", "mkdir", "env", "rm"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def launch(tools, script, *arguments, cwd=None, **environment):
    file = script if isinstance(script, Path) else LAUNCH / f"{script}.sh"
    environment = {"PATH": str(tools), "HOME": str(tools), "TMPDIR": str(tools)} | environment
    return subprocess.run(["bash", file, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def planned(tools, script, *arguments):
    """What a script would do: its commands as words, and their input."""
    done = launch(tools, script, *arguments, "--dry-run", *PROGRAM, cwd=tools)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    commands, _, rest = done.stdout.partition(" <<'END'\n")
    given, _, after = rest.partition("\nEND\n")
    return [shlex.split(line) for line in f"{commands}\n{after}".splitlines() if line[:1] not in ("", "#")], given


def options(command):
    """The values of a command's --options."""
    return {word: value for word, value in zip(command, [*command[1:], ""], strict=True) if word.startswith("--")}


def test_a_tpu_is_made_prepared_used_and_deleted(tools):
    commands, _ = planned(tools, "tpu", *TPU, "--spot", "--project", "mine")
    create, wait, pack, copy, prepare, run, delete = commands
    assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "lift"]
    assert options(create).items() >= {
        ("--node-id", "lift"),
        ("--zone", "us-west4-a"),
        ("--project", "mine"),
        ("--accelerator-type", "v5litepod-16"),
        ("--runtime-version", "v2-alpha-tpuv5-lite"),
        ("--spot", ""),
    }
    assert wait[4:6] == ["describe", "lift"]
    assert pack[0] == "tar" and {"configs", "launch", "lift_jax", "requirements.txt"} <= set(pack)
    assert copy[:7] == ["gcloud", "compute", "tpus", "tpu-vm", "scp", pack[2], "lift:"]
    for command in copy, prepare, run:
        assert "--worker=all" in command and options(command)["--zone"] == "us-west4-a"
    assert options(prepare)["--command"].endswith("worker.sh prepare")
    remote = shlex.split(options(run)["--command"])
    assert remote == ["bash", "lift_jax/launch/worker.sh", "run", *BUCKET, *PROGRAM[1:]]
    assert delete[4:6] == ["delete", "lift"] and "--force" in delete
    assert options(planned(tools, "tpu", *TPU, "--keep")[0][-1])["--command"] == options(run)["--command"]


@pytest.mark.parametrize(
    "kind, version",
    [
        ("v4-32", "tpu-ubuntu2204-base"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
        ("v5litepod-256", "v2-alpha-tpuv5-lite"),
    ],
)
def test_the_software_fits_the_tpu(tools, kind, version):
    create = planned(tools, "tpu", *TPU, "--type", kind)[0][0]
    assert options(create)["--runtime-version"] == version
    assert options(planned(tools, "tpu", *TPU, "--type", kind, "--version", "x")[0][0])["--runtime-version"] == "x"


@pytest.mark.parametrize(
    "kind, accelerator, topology, hosts, chips",
    [
        ("v5litepod-1", "tpu-v5-lite-podslice", "1x1", 1, 1),
        ("v5litepod-8", "tpu-v5-lite-podslice", "2x4", 1, 8),
        ("v5litepod-16", "tpu-v5-lite-podslice", "4x4", 4, 4),
        ("v5litepod-256", "tpu-v5-lite-podslice", "16x16", 64, 4),
        ("v6e-64", "tpu-v6e-slice", "8x8", 16, 4),
        ("v4-8", "tpu-v4-podslice", "2x2x1", 1, 4),
        ("v4-32", "tpu-v4-podslice", "2x2x4", 4, 4),
        ("v5p-16", "tpu-v5p-slice", "2x2x2", 2, 4),
        ("v5p-512", "tpu-v5p-slice", "4x8x8", 64, 4),
    ],
)
def test_the_jobset_asks_for_the_slice(tools, kind, accelerator, topology, hosts, chips):
    commands, given = planned(tools, "gke", *GKE, "--type", kind, "--restarts", "7", "--namespace", "team")
    assert [command[:5] for command in commands] == [
        ["kubectl", "--namespace", "team", verb, flag]
        for verb, flag in (("apply", "-f"), ("wait", "--for=condition=Ready"), ("logs", "--follow"))
    ]
    jobset = yaml.safe_load(given)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 7
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert replicated["replicas"] == 1
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (hosts, hosts, 0)
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2]
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    assert "tolerations" not in pod and "serviceAccountName" not in pod
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"] == {"google.com/tpu": chips}
    assert container["command"] + container["args"] == ["python", "-m", "lift_jax.main", *BUCKET, *PROGRAM[1:]]
    assert container["name"] == job["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"]


def test_a_jobset_on_spot_machines_with_an_account_and_odd_arguments(tools):
    odd = ['--config.prompt="a\\{}"', "--config.sweep=seed=0,1 lr=0.1"]
    done = launch(tools, "gke", *GKE, "--spot", "--service-account", "writer", "--build", "--dry-run", *PROGRAM, *odd)
    build, push, *_ = done.stdout.splitlines()
    assert build.startswith("docker build") and push == "docker push eu/lift"
    pod = yaml.safe_load(done.stdout.partition("'END'\n")[2].partition("\nEND\n")[0])
    pod = pod["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert [t["key"] for t in pod["tolerations"]] == ["cloud.google.com/gke-spot"]
    assert pod["serviceAccountName"] == "writer"
    assert pod["containers"][0]["args"][-2:] == odd


KUBECTL = """#!/usr/bin/env bash
# A cluster whose controller has made the pods of a JobSet when it is asked for them the third time.
echo "$1" >>calls
mapfile -t calls <calls
[ "$1" != get ] || [ "${#calls[@]}" -lt 4 ] || echo pod/lift-slice-0-0
"""


def test_a_jobset_is_waited_for_until_it_has_pods(tools, tmp_path):
    for name, text in ("kubectl", KUBECTL), ("sleep", "#!/bin/sh\n"):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    done = launch(tools, "gke", *GKE, *PROGRAM, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().split() == ["apply", "get", "get", "get", "wait", "logs"]


def test_a_gpu_node_gets_jax_for_cuda_and_one_process(tools):
    commands, _ = planned(tools, "gpu", *NEEDED["gpu"], "--gpus", "0,1", "--cuda", "13")
    venv, install, check, run = commands
    assert venv[1:3] == ["-m", "venv"] and install[-1] == "jax[cuda13]"
    assert 'jax.devices("gpu")' in check[-1]
    assert "CUDA_VISIBLE_DEVICES=0,1" in run
    assert run[-7:] == ["-m", "lift_jax.main", "--workdir", "runs/inat", *PROGRAM[1:]]


def test_slurm_gets_a_process_for_each_gpu(tools):
    commands, job = planned(
        tools, "slurm", "--workdir", "runs", "--nodes", "4", "--gpus-per-node=8", "--time", "8:00:00"
    )
    assert commands[1][-1] == "jax[cuda12]"
    assert [command[0] for command in commands[2:]] == ["mkdir", "sbatch"]
    lines = [line.removeprefix("#SBATCH ") for line in job.splitlines() if "#SBATCH" in line]
    header = {name: value for name, _, value in (line.partition("=") for line in lines)}
    assert header.items() >= {
        ("--nodes", "4"),
        ("--gpus-per-node", "8"),
        ("--ntasks-per-node", "8"),
        ("--time", "8:00:00"),
        ("--requeue", ""),
        ("--open-mode", "append"),
        ("--signal", "TERM@120"),
    }
    assert "--partition" not in header
    assert "\nsrun --cpus-per-task=8 " in job


@pytest.mark.parametrize(
    "status, restarts, queued", [(0, 0, False), (1, 0, False), (75, 0, True), (137, 99, True), (75, 100, False)]
)
def test_slurm_queues_a_job_again_that_can_go_on(tools, tmp_path, status, restarts, queued):
    (tools / "srun").write_text(f"#!/bin/sh\nexit {status}\n")
    (tools / "scontrol").write_text("#!/bin/sh\necho $@\n")
    for name in "srun", "scontrol":
        (tools / name).chmod(0o755)
    job = tmp_path / "job.sh"
    job.write_text(planned(tools, "slurm", "--workdir", "runs", "--restarts", "100")[1])
    done = launch(tools, job, SLURM_JOB_ID="31", SLURM_RESTART_COUNT=str(restarts))
    assert (done.returncode, done.stdout) == (status, "requeue 31\n" if queued else "")


GCLOUD = """#!/usr/bin/env bash
# A cloud with one TPU. `state` is that of its request; `statuses` are those with which its runs will end.
echo "$4" "${*:5}" >>calls
case "$3 $4" in
  "queued-resources create") echo ACTIVE >state ;;
  "queued-resources describe") [ ! -e state ] || read -r line <state && echo "$line" ;;
  "queued-resources delete") rm state ;;
  "tpu-vm describe") echo READY ;;
  "tpu-vm ssh")
    if [[ $* == *"worker.sh run"* ]]; then
      read -r status others <statuses
      echo "$others" >statuses
      [ "$status" != 255 ] || echo SUSPENDED >state
      exit "$status"
    fi
    ;;
esac
"""


@pytest.mark.parametrize(
    "statuses, outcome, verbs",
    [
        ("0", 0, "create scp ssh ssh delete"),
        ("75 0", 0, "create scp ssh ssh scp ssh ssh delete"),
        ("255 0", 0, "create scp ssh ssh delete create scp ssh ssh delete"),
        ("1", 1, "create scp ssh ssh"),
        ("75 75 75", 1, "create scp ssh ssh scp ssh ssh scp ssh ssh"),
    ],
)
def test_a_tpu_that_was_taken_away_is_made_again(tools, tmp_path, statuses, outcome, verbs):
    (tools / "gcloud").write_text(GCLOUD)
    (tools / "sleep").write_text("#!/bin/sh\n")
    for name in "gcloud", "sleep":
        (tools / name).chmod(0o755)
    (tmp_path / "statuses").write_text(statuses + "\n")
    done = launch(tools, "tpu", *TPU, "--restarts", "2", *PROGRAM, cwd=tmp_path)
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert (done.returncode, [call for call in calls if call != "describe"]) == (outcome, verbs.split()), done.stderr
    if outcome:
        assert done.stderr.splitlines()[-1].startswith("error: The run")


@pytest.fixture
def worker(tools, tmp_path):
    """A worker's repository, with an environment whose Python says what it is asked."""
    home = tmp_path / "worker"
    shutil.copytree(LAUNCH, home / "lift_jax" / "launch")
    python = home / "lift_jax" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\npwd\nprintf '<%s>' \"$@\"\n")
    python.chmod(0o755)
    (tools / "sleep").symlink_to(str(shutil.which("sleep")))
    return home / "lift_jax"


def test_a_worker_ends_the_run_whose_connection_was_lost(tools, worker):
    lost = subprocess.Popen(["sleep", "60"])
    (worker / "run.pid").write_text(f"{lost.pid}\n")
    reaper = threading.Thread(target=lost.wait)  # or the ended process would still be found
    reaper.start()
    done = launch(tools, worker / "launch" / "worker.sh", "run", "--workdir", "gs://b/my run", cwd=worker.parent)
    reaper.join()
    assert lost.returncode == -signal.SIGTERM
    assert done.stdout == f"{worker}\n<-m><lift_jax.main><--workdir><gs://b/my run>"


GPU_PYTHON = """#!/bin/sh
[ "$2" = lift_jax.main ] || exit 0
echo "$*" >>"$HOME/asked"
read -r status others <"$HOME/statuses"
echo "$others" >"$HOME/statuses"
exit "$status"
"""


@pytest.mark.parametrize(
    "statuses, outcome, runs", [("0", 0, 1), ("1 0", 1, 1), ("137 75 0", 0, 3), ("75 75 75 0", 1, 3)]
)
def test_a_run_on_gpus_that_is_killed_is_started_again(tools, worker, statuses, outcome, runs):
    (worker / ".venv" / "bin" / "python").write_text(GPU_PYTHON)
    (worker / "requirements.txt").write_text("")
    (tools / "nvidia-smi").symlink_to("cat")
    (tools / "statuses").write_text(statuses + "\n")
    arguments = ["--workdir", "runs/inat", "--restarts", "2"]
    done = launch(tools, worker / "launch" / "gpu.sh", *arguments, *PROGRAM)
    assert done.returncode == outcome, done.stderr
    asked = (tools / "asked").read_text().splitlines()
    assert asked == [f"-m lift_jax.main --workdir runs/inat {' '.join(PROGRAM[1:])}"] * runs


OLD_PYTHON = """#!/bin/sh
echo "$*" >>"$HOME/asked"
case "$*" in
  *version_info*) exit 1 ;;
  *"python find"*) echo "$HOME/uv/python3.12" ;;
esac
"""
NEW_PYTHON = """#!/bin/bash
echo "$*" >>"$HOME/asked"
[ "$2" != venv ] || { mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; }
"""


def test_a_worker_without_a_fitting_python_gets_one(tools, worker):
    """Of uv, as the images of older TPUs have Python 3.10."""
    (worker / "requirements.txt").write_text("")
    shutil.rmtree(worker / ".venv")
    (tools / "uv").mkdir()
    (tools / "cp").symlink_to(str(shutil.which("cp")))
    for file, text in (tools / "python3", OLD_PYTHON), (tools / "uv" / "python3.12", NEW_PYTHON):
        file.write_text(text)
        file.chmod(0o755)
    done = launch(tools, worker / "launch" / "worker.sh", "prepare", cwd=worker.parent)
    assert done.returncode == 0, done.stderr
    asked = [line for line in (tools / "asked").read_text().splitlines() if "version_info" not in line]
    assert asked[:2] == ["-m pip install --quiet --user uv", "-m uv python install --quiet 3.12"]
    assert asked[-1].startswith("-m pip install") and asked[-1].endswith(" jax[tpu] gcsfs")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_every_flag(tools, script):
    done = launch(tools, script, "--help")
    assert done.returncode == 0 and done.stderr == ""
    text = (LAUNCH / f"{script}.sh").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("parse_flags"))
    flags = shlex.split(line)
    for flag in (*flags[1].split(), *flags[2].split(), "dry-run"):
        assert f"--{flag} " in done.stdout


@pytest.mark.parametrize(
    "script, arguments, words",
    [
        ("tpu", TPU[2:], "--name is missing"),
        ("tpu", [*TPU, "--type", "v5litepod-12"], "--type v5litepod-12 is not known; write v5litepod-N"),
        ("tpu", [*TPU, "--type", "a100-8"], "--type a100-8 is not known"),
        ("tpu", [*TPU, "--workdir", "runs/inat"], "--workdir is runs/inat; it is a folder of a bucket"),
        ("tpu", [*TPU, "--restarts", "many"], "--restarts is many; it is a whole number"),
        ("tpu", [*TPU, "--sport"], "There is no flag --sport"),
        ("tpu", [*TPU, "--config"], "flags of lift_jax.main come after --"),
        ("tpu", [*TPU, "--zone"], "--zone needs a value"),
        ("tpu", [*TPU, "now"], "The argument now belongs to no flag"),
        ("tpu", TPU, "gcloud is not installed; see https://"),
        ("gke", GKE[2:], "--name is missing"),
        ("gke", GKE, "kubectl is not installed"),
        ("gpu", [], "--workdir is missing"),
        ("gpu", ["--workdir", "x", "--cuda", "11"], "--cuda is 11; write 12 or 13"),
        ("gpu", ["--workdir", "x"], "nvidia-smi is not installed"),
        ("slurm", ["--workdir", "x", "--nodes", "0"], "--nodes is 0; it is a whole number"),
        ("slurm", ["--workdir", "x"], "sbatch is not installed"),
    ],
)
def test_a_mistake_is_one_sentence(tools, script, arguments, words):
    program = [] if arguments[-1:] in (["--config"], ["--zone"]) else PROGRAM
    done = launch(tools, script, *arguments, *program)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    "program, words",
    [
        ([], "No config is given"),
        (["--", "--config"], "No config is given"),
        ([*PROGRAM, "--workdir", "x"], "--workdir comes before the --"),
    ],
)
def test_what_the_program_needs_is_asked_for_before_anything_is_made(tools, script, program, words):
    done = launch(tools, script, *NEEDED[script], "--dry-run", *program)
    assert done.returncode == 1 and words in done.stderr and done.stdout == ""


@pytest.mark.parametrize("script", ["tpu", "gke"])
@pytest.mark.parametrize("config", ["configs/nowhere.py", "/tmp/mine.py"])
def test_a_config_that_would_not_be_there_is_refused(tools, script, config):
    done = launch(tools, script, *NEEDED[script], "--dry-run", "--", "--config", config)
    assert done.returncode == 1 and f"{config} is not in the repository" in done.stderr


def test_an_unknown_accelerator_is_refused(tools):
    done = launch(tools, "local", LIFT_JAX_ACCELERATOR="gpu")
    assert done.returncode == 1 and "write cpu, cuda12, cuda13 or tpu" in done.stderr
