"""Your own training loop: three teachers of the digits, then a student of their ensemble.

    uv run python examples/own_loop.py

The step is one pure function of (state, frozen, batch). The teachers are trained by the same step
under `vmap`; their stacked variables are what the student's teacher is made of.
"""

import jax
import jax.numpy as jnp
import optax

import kd


def main() -> None:
    """Trains both and prints their accuracies."""
    data = kd.data.load("digits")
    train, test = (
        {
            "image": jnp.asarray((s.image / 255 - data.mean) / data.std),
            "label": jnp.asarray(s.label),
        }
        for s in (data.train, data.test)
    )
    ce, soft = kd.objectives.CE(), kd.objectives.KD(temperature=4.0)
    labels = kd.Weighted({"ce": ce}, {"ce": 1.0})
    both = kd.Weighted({"ce": ce, "kd": soft}, {"ce": 0.1, "kd": 0.9})
    big, small = kd.models.MLP(10, (64, 64)), kd.models.MLP(10, (16,))
    batch_of = lambda key: jax.tree.map(
        lambda x: x[jax.random.randint(key, (64,), 0, len(train["label"]))], train
    )

    def fit(key, frozen, student, objective, teacher, updates):
        """Trains one network; a pure function, so that `vmap` trains several."""
        parts = student, objective, teacher, optax.adamw(3e-3)
        init, step = kd.make_init(*parts), kd.make_step(*parts)
        state = init(key, frozen, batch_of(key))
        update = lambda state, key: step(state, frozen, batch_of(key))
        return jax.lax.scan(update, state, jax.random.split(key, updates))[0].student

    def accuracy(network, variables):
        logits = network.apply(variables, test["image"]).logits
        return 100 * jnp.mean(logits.argmax(-1) == test["label"])

    alone = {"teacher": (), "tables": {}}
    teach = jax.jit(jax.vmap(lambda key: fit(key, alone, big, labels, kd.teachers.none(), 400)))
    ensemble = teach(jax.random.split(jax.random.key(0), 3))

    frozen = {"teacher": ensemble, "tables": {}}
    learn = jax.jit(lambda key, f: fit(key, f, small, both, kd.teachers.ensemble(big), 800))
    student = learn(jax.random.key(1), frozen)

    for member, value in enumerate(jax.vmap(lambda v: accuracy(big, v))(ensemble)):
        print(f"teacher {member}: {value:.2f} %")
    print(f"student:   {accuracy(small, student):.2f} %")


if __name__ == "__main__":
    main()
