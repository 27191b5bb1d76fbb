"""Compare two models' predictions without pruning, or even PyTorch: who is served worse?"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

import fairsparse

x, y = load_digits(return_X_y=True)
x = x / 16
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
before = LogisticRegression(max_iter=1000).fit(x_train, y_train).predict(x_test)
after = DecisionTreeClassifier(random_state=0).fit(x_train, y_train).predict(x_test)

comparison = fairsparse.compare(
    reference=before,
    candidate=after,
    y=y_test,
    group=np.full(len(y_test), -1),  # no groups here; otherwise 0, 1, ... and group_names
    class_names=[str(k) for k in range(10)],
)

print(f"{comparison.n} examples, predictions differ on {comparison.churn:.1%}")
for name in ("accuracy", "cwv", "mcd"):
    change = comparison.metrics[name]["change"]
    print(f"{name}: {change['value']:+.4f}  [{change['low']:+.4f}, {change['high']:+.4f}]")
for cell in sorted(comparison.cells, key=lambda cell: -cell["drop"])[:3]:
    print(
        f"digit {cell['name']} (n = {cell['n']}): lost {cell['lost']}, gained {cell['gained']},"
        f" adjusted p = {cell['p_adjusted']:.3g}"
    )
