"""Neural operators, one a file.

`OPERATORS` is the allow-list of names that recipes and bundles may use.
"""

OPERATORS: dict[str, str] = {
    "fno": "opkit.operators.fno:FNO",
    "elliptic-fno": "opkit.operators.elliptic_fno:EllipticFNO",
    "lsm": "opkit.operators.lsm:LSM",
    "spon": "opkit.operators.spon:SPON",
    "lsm-points": "opkit.operators.lsm_points:PointLSM",
    "mgno": "opkit.operators.mgno:MgNO",
    "beno": "opkit.operators.beno:BENO",
    "embedded": "opkit.operators.embedded:Embedded",
    "unet": "opkit.operators.unet:UNet",
    "deeponet": "opkit.operators.deeponet:DeepONet",
    "pod-deeponet": "opkit.operators.pod_deeponet:PODDeepONet",
}
