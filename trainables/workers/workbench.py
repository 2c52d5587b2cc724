"""Workbench: one loaded base model that serves one job after another; plain torch, without Ray."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trainables.checkpoint import (
    PARAMETER,
    CheckpointError,
    load_checkpoint,
    parameter_bytes,
    save_checkpoint,
)
from trainables.collate import Encoder, pad_token_id
from trainables.cost.account import Account
from trainables.cost.flops import TrainingFlops, flops_of_steps
from trainables.cost.spent import Spent
from trainables.data.sample_sets import Chain, load_samples, outlines_of
from trainables.loop import Progress, TrialFailed, fine_tune
from trainables.manifest import TrainableManifest, build_manifest
from trainables.model import load_model
from trainables.pointer import Pointer
from trainables.scoring.evaluator import Evaluator
from trainables.training.batches import DataOrder
from trainables.training.parallel import Share, load_sharded
from trainables.weights.points import TrainedWeights, apply_point, open_weights, point_manifest
from trainables.weights.restore import borrowed
from trainables.weights.rung_files import RungFiles
from trainables.weights.safetensors_stream import nothing
from trainables.weights.slices import live_tensors
from trainables.weights.trained import trained_manifest
from trainables.workers.attempts import micro_batch_of
from trainables.workers.jobs import (
    REPLAY,
    ConfirmJob,
    EvaluateJob,
    Job,
    PointJob,
    Report,
    TrainJob,
    WorkerSetup,
)


class Stopped(RuntimeError):
    """A run had to stop between two rungs, on every rank.

    Attributes:
        pointer: Where it can go on from; on the first rank alone.
    """

    def __init__(self, pointer: Pointer | None) -> None:
        super().__init__("the run had to stop")
        self.pointer = pointer


class Workbench:
    """Holds what is loaded once: the base model, the encoded samples, and the base's output distribution.

    Args:
        setup: What to load.
        device: Where the model lives.
        share: This process's share of evaluation and training.
        gpus: GPUs that all processes together have reserved.
        beat: Called as work goes on: at each forward pass, and while tensors are read and written.
        stops: Tells whether this process has to stop, and a run with it, at the next optimiser step.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        device: torch.device | str = "cpu",
        share: Share | None = None,
        gpus: float = 0.0,
        beat: Callable[[], None] = nothing,
        stops: Callable[[], bool] = bool,
    ):
        self._setup = setup
        self._share = share or Share()
        self._device = torch.device(device)
        self._account = Account(self._device, self._share, gpus)
        self._beat = beat
        self._stops = stops
        dtype = getattr(torch, setup.dtype)
        trust = setup.trust_remote_code
        load = partial(load_model, setup.model, dtype=dtype, roles=setup.roles, trust=trust)
        if self._share.sharded:
            # A model that needs sharding may not fit the device whole.
            self.model = load_sharded(load, self._device)
        else:
            self.model = load(device=self._device)
        self.model.register_forward_pre_hook(lambda *_: beat())
        self._encoder = encoder = Encoder.load(setup.model, trust=trust)
        self._tokenizer = encoder.tokenizer
        self._train = Chain(
            load_samples(setup.encoded.get(f"{task.name}/train"), task.train, encoder)
            for task in setup.tasks
            if task.role == "target"
        )
        self._replay = load_samples(setup.encoded.get(REPLAY), setup.replay, encoder)
        self.evaluator = Evaluator(setup, self.model, encoder, self._share)

    def run(self, job: Job) -> Iterator[Report]:
        """Serve one job; the model is the base again when the iterator ends or is closed.

        Raises:
            TrialFailed: The job failed by itself.
            StepTooLarge: A step of training took more memory than there is.
            Stopped: A run had to stop between two rungs.
        """
        match job:
            case EvaluateJob():
                return self._evaluate_base(job)
            case PointJob():
                return self._point_job(job)
            case ConfirmJob():
                return self._confirm_job(job)
            case TrainJob():
                return self._train_job(job)

    def _evaluate_base(self, job: EvaluateJob) -> Iterator[Report]:
        self._account.restart()
        began = time.perf_counter()
        evaluations = self.evaluator.evaluate_base(predictions=job.predictions)
        seconds = time.perf_counter() - began
        yield Report(
            step=0, done=True, evaluations=evaluations, metrics=self._account.spent(0.0, seconds).to_metrics()
        )

    def _point_job(self, job: PointJob) -> Iterator[Report]:
        members = self._opened(job.members)
        manifest = point_manifest([own for own, _ in members])
        if job.write_to is None:
            self._prepare_to_measure()
        began = time.perf_counter()
        with borrowed(self.model, manifest, seed=0):
            apply_point(self.model, job.point.transform, members, self._beat)
            if job.write_to is None:
                evaluations, drift = self.evaluator.evaluate_tuned(predictions=job.predictions)
            else:
                live = live_tensors(self.model, manifest.tensors)
                state = {PARAMETER + key: tensor.value for key, tensor in live.items()}
                path = Path(job.write_to) if self._share.rank == 0 else None
                written = save_checkpoint(path, state, job.point.step, self._beat)
        if job.write_to is not None:
            stored = {
                "cost/stored_bytes": float(parameter_bytes(state)),
                "cost/full_stored_bytes": float(build_manifest(self.model, "full").bytes),
            }
            yield Report(
                step=job.point.step,
                done=True,
                metrics=stored,
                checkpoint=written,
                manifest=manifest.to_dict(),
            )
            return
        # Of adapters as many were trained as they have, not as their layers' weights have.
        trained = job.members[0].manifest if len(job.members) == 1 else manifest
        metrics = {
            **drift,
            "cost/trainable_parameters": float(trained.count),
            **self._account.spent(0.0, time.perf_counter() - began).to_metrics(),
        }
        yield Report(step=job.point.step, done=True, evaluations=evaluations, metrics=metrics)

    def _confirm_job(self, job: ConfirmJob) -> Iterator[Report]:
        evaluator = Evaluator(job.data.setup(self._setup), self.model, self._encoder, self._share)
        began = time.perf_counter()
        if job.point is None:
            evaluations, _ = evaluator.evaluate()
        else:
            members = self._opened(job.members)
            with borrowed(self.model, point_manifest([own for own, _ in members]), seed=0):
                apply_point(self.model, job.point.transform, members, self._beat)
                evaluations, _ = evaluator.evaluate()
        yield Report(
            step=0 if job.point is None else job.point.step,
            done=True,
            evaluations=evaluations,
            metrics=self._account.spent(0.0, time.perf_counter() - began).to_metrics(),
        )

    def _opened(
        self, members: Sequence[TrainedWeights]
    ) -> list[tuple[TrainableManifest, Mapping[str, Tensor]]]:
        """Open trained weights; what any rank can't open fails the job on all of them alike.

        Raises:
            TrialFailed: A file is missing or damaged, or does not fit the model.
        """
        opened, error = [], None
        try:
            opened = [open_weights(self.model, weights, self._beat) for weights in members]
        except CheckpointError as failure:
            error = str(failure)
        if errors := [each for each in self._share.from_all(error) if each is not None]:
            raise TrialFailed(errors[0])
        return opened

    def _prepare_to_measure(self) -> None:
        self.evaluator.prepare_for_drift()
        self._account.restart()

    def _train_job(self, job: TrainJob) -> Iterator[Report]:
        self._prepare_to_measure()
        manifest = trained_manifest(self.model, job.recipe)
        everything = build_manifest(self.model, "full")
        count_flops, whole_bytes = self._flops_counter(job, manifest, everything), everything.bytes
        files = RungFiles(job, writes=self._share.rank == 0, beat=self._beat)
        resume, lost = self._resumed(job.resume)
        reported = job.resume[0].step if job.resume else 0
        spent_before = Spent.from_dict(job.resume[0].spent) if job.resume else Spent()
        with self._run_of(job, manifest, resume) as run:
            counted, first = 0, True
            train_flops = full_flops = 0
            train_seconds = eval_seconds = 0.0
            for progress in run:
                train_seconds += progress.seconds
                if progress.stopped:
                    spent = spent_before + self._account.spent(train_seconds, eval_seconds)
                    raise Stopped(files.save_between(progress, spent.to_dict(), job.micro_batch_size))
                if progress.step <= reported:
                    # What was reported is not reported again; a damaged file comes back as it was.
                    if progress.step in lost:
                        files.restore(progress, lost[progress.step])
                    continue
                own, full = count_flops(range(counted, progress.step))
                train_flops, full_flops = train_flops + own, full_flops + full
                counted = progress.step
                began = time.perf_counter()
                last = progress.step == job.rungs[-1]
                evaluations, drift = self.evaluator.evaluate_tuned(early=not last)
                eval_seconds += time.perf_counter() - began
                spent = spent_before + self._account.spent(train_seconds, eval_seconds)
                yield Report(
                    step=progress.step,
                    done=last,
                    evaluations=evaluations,
                    metrics={
                        **drift,
                        "train/loss": sum(progress.losses) / len(progress.losses),
                        "cost/trainable_parameters": float(manifest.count),
                        "cost/train_flops": float(train_flops),
                        "cost/full_train_flops": float(full_flops),
                        "cost/micro_batch_size": float(micro_batch_of(job, self._share.size)),
                        "cost/stored_bytes": float(parameter_bytes(progress.state)),
                        "cost/full_stored_bytes": float(whole_bytes),
                        **spent.to_metrics(),
                    },
                    manifest=manifest.to_dict() if first else None,
                    checkpoint=files.save(progress, spent.to_dict(), job.micro_batch_size),
                    started_at=progress.started_at if first else None,
                )
                files.reported(progress.step)
                first = False

    @contextmanager
    def _run_of(
        self, job: TrainJob, manifest: TrainableManifest, resume: Mapping[str, Tensor] | None
    ) -> Iterator[Iterator[Progress]]:
        """Lend the model to a job's run; it is the base again when the run ends or is closed."""
        passed = 0 if resume is None else int(resume["step"])
        with borrowed(self.model, manifest, seed=job.seed) as base:
            run = fine_tune(
                self.model,
                manifest,
                job.recipe,
                self._train,
                seed=job.seed,
                rungs=[rung for rung in job.rungs if rung > passed],
                pad_token_id=pad_token_id(self._tokenizer),
                replay=self._replay,
                base=base,
                share=self._share,
                micro_batch_size=job.micro_batch_size,
                activation_checkpointing=job.activation_checkpointing,
                resume=resume,
                stops=self._stops,
            )
            with closing(run):  # type: ignore[type-var]
                yield run

    def _flops_counter(
        self, job: TrainJob, manifest: TrainableManifest, everything: TrainableManifest
    ) -> Callable[[range], tuple[int, int]]:
        """Return what counts the FLOPs of steps: a job's own, and had they trained all parameters plainly."""
        config = self.model.config.to_dict()
        own, full = (
            TrainingFlops(everything, trained, config, recomputed=job.activation_checkpointing)
            for trained in (manifest, everything)
        )
        order = DataOrder.of(job.recipe, len(self._train), len(self._replay), job.seed)
        data = outlines_of(Chain((self._train, self._replay)))
        return lambda steps: (
            flops_of_steps(own, steps, data, order),
            flops_of_steps(full, steps, data, order),
        )

    def _resumed(
        self, pointers: Sequence[Pointer]
    ) -> tuple[Mapping[str, Tensor] | None, Mapping[int, Pointer]]:
        """Return the tensors of the first checkpoint that all ranks find whole; None for the base.

        Args:
            pointers: The checkpoints, newest first.

        Returns:
            The tensors, and by their steps the checkpoints that some rank found missing or damaged.
        """
        lost: dict[int, Pointer] = {}
        for pointer in pointers:
            found: Mapping[str, Tensor] | None = None
            try:
                found = load_checkpoint(pointer, self._beat)
            except CheckpointError as error:
                print(f"going on from an earlier checkpoint, or the base: {error}", file=sys.stderr)
            if all(self._share.from_all(found is not None)):
                return found, lost
            lost[pointer.step] = pointer
        return None, lost
