# Functions that the scripts for clusters and clouds share; source it, don't run it.
# Their flags become variables, their comment at the top is their --help, and with --dry-run they print what they would do.
# shellcheck shell=bash

# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

dry_run='' # set by --dry-run
program=() # what comes after --: the flags of lift_jax.main
workdir='' # that of the run
cuda=12    # the version for JAX's packages

fail() {
  echo "error: $*" >&2
  exit 1
}

# parse_flags "VALUED…" "SWITCHES…" "$@": --some-flag VALUE and --some-flag=VALUE set $some_flag, a switch sets it to yes.
parse_flags() {
  local valued=" $1 " switches=" $2 dry-run " key value
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0"
        exit 0
        ;;
      --)
        shift
        program=("$@")
        break
        ;;
      --*) ;;
      *) fail "The argument $1 belongs to no flag; flags of lift_jax.main come after --, and --help lists those before." ;;
    esac
    key=${1#--}
    key=${key%%=*}
    if [[ $switches == *" $key "* ]]; then
      value=yes
    elif [[ $valued != *" $key "* ]]; then
      fail "There is no flag --$key; --help lists those that there are, and flags of lift_jax.main come after --."
    elif [[ $1 == *=* ]]; then
      value=${1#*=}
    elif [ $# -gt 1 ]; then
      value=$2
      shift
    else
      fail "--$key needs a value; see --help."
    fi
    printf -v "${key//-/_}" %s "$value"
    shift
  done
}

# require FLAG…: that these have been given.
require() {
  local key variable
  for key in "$@"; do
    variable=${key//-/_}
    [ -n "${!variable}" ] || fail "--$key is missing; see --help."
  done
}

# require_count FLAG…: that these are whole numbers of at least 1.
require_count() {
  local key variable
  for key in "$@"; do
    variable=${key//-/_}
    [[ ${!variable} =~ ^[1-9][0-9]*$ ]] || fail "--$key is ${!variable}; it is a whole number of at least 1."
  done
}

# require_config: that lift_jax.main is given one, in $config, and its workdir by the script.
require_config() {
  local word next=''
  config=''
  for word in ${program[@]+"${program[@]}"}; do
    case $next$word in
      --workdir | --workdir=*) fail "--workdir comes before the --, because the script needs it too." ;;
      --config=*) config=${word#--config=} ;;
      next*) config=$word ;;
    esac
    next=''
    [ "$word" != --config ] || next=next
  done
  config=${config%%:*}
  [ -n "$config" ] || fail "No config is given; end with -- --config configs/inat.py, for example."
}

# require_config_of_repository: that it is one of those which go to other machines.
require_config_of_repository() {
  require_config
  [[ $config != /* && ( -f $root/$config || -f $root/configs/$config ) ]] ||
    fail "The config $config is not in the repository; put it into configs/, which goes to the other machines."
}

# require_cuda: that JAX has packages for it.
require_cuda() {
  [[ $cuda == 12 || $cuda == 13 ]] || fail "--cuda is $cuda; write 12 or 13."
}

# require_bucket: that the run's folder is in a bucket, where all machines and the next ones see it.
require_bucket() {
  require workdir
  [[ $workdir == gs://?*/?* ]] || fail "--workdir is $workdir; it is a folder of a bucket, such as gs://BUCKET/runs/inat."
}

# require_tool TOOL WHERE: that a program is there, unless nothing is to be run.
require_tool() {
  [ -n "$dry_run" ] || command -v "$1" >/dev/null || fail "$1 is not installed; $2."
}

# Prints a command as it could be typed.
show() {
  local word line=''
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# run COMMAND…: runs it, or prints it.
run() {
  if [ -n "$dry_run" ]; then
    show "$@"
  else
    "$@"
  fi
}

# run_with_input TEXT COMMAND…: runs it with this text on its standard input, or prints both.
run_with_input() {
  local text=$1
  shift
  if [ -n "$dry_run" ]; then
    printf "%s <<'END'\n%s\nEND\n" "$(show "$@")" "$text"
  else
    "$@" <<<"$text"
  fi
}

# make_cuda_environment: the program's environment with JAX for CUDA $cuda, or how it is made.
make_cuda_environment() {
  if [ -n "$dry_run" ]; then
    show python3 -m venv "$root/.venv"
    show "$root/.venv/bin/python" -m pip install -r "$root/requirements.txt" "jax[cuda$cuda]"
  else
    LIFT_JAX_ACCELERATOR=cuda$cuda make_program_environment
  fi
}

# is_final STATUS: whether starting again is of no use. lift_jax.main ends with 0 when it is done, 1 when something has
# to be put right, and 2 for flags that it doesn't know; all else (a signal, a lost machine) can go on from the checkpoint.
is_final() {
  [ "$1" -le 2 ]
}

# find_slice TYPE: what an accelerator type stands for, in $generation, $topology, $chips and $hosts.
# shellcheck disable=SC2034 # the scripts use them
find_slice() {
  local type=$1 size=${1##*-}
  generation=${type%-*}
  case $generation in
    v5litepod | v6e)
      case $size in # chips
        1) topology=1x1 ;; 4) topology=2x2 ;; 8) topology=2x4 ;; 16) topology=4x4 ;; 32) topology=4x8 ;;
        64) topology=8x8 ;; 128) topology=8x16 ;; 256) topology=16x16 ;; *) topology='' ;;
      esac
      ;;
    v4 | v5p)
      case $size in # TensorCores, two in a chip
        8) topology=2x2x1 ;; 16) topology=2x2x2 ;; 32) topology=2x2x4 ;; 64) topology=2x4x4 ;; 128) topology=4x4x4 ;;
        256) topology=4x4x8 ;; 512) topology=4x8x8 ;; *) topology='' ;;
      esac
      ;;
    *) topology='' ;;
  esac
  [ -n "$topology" ] ||
    fail "--type $type is not known; write v5litepod-N or v6e-N with N 1, 4, 8, 16, 32, 64, 128 or 256 chips, or v4-N or" \
      "v5p-N with N 8, 16, 32, 64, 128, 256 or 512 cores."
  chips=$((${topology//x/*}))
  # Machines of a slice have four chips; of v5e and v6e there are single ones with one and with eight as well.
  hosts=$((chips / 4))
  if [[ $chips -le 8 && $topology != *x*x* ]]; then
    hosts=1
  fi
}
