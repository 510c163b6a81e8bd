"""Neural operators, one a file.

`OPERATORS` is the allow-list of names that recipes and bundles may use.
"""

OPERATORS: dict[str, str] = {
    "fno": "opkit.operators.fno.fno:FNO",
    "elliptic-fno": "opkit.operators.fno.elliptic:EllipticFNO",
    "lsm": "opkit.operators.lsm.lsm:LSM",
    "spon": "opkit.operators.spon.spon:SPON",
    "lsm-points": "opkit.operators.lsm.points:PointLSM",
    "mgno": "opkit.operators.mgno:MgNO",
    "beno": "opkit.operators.beno.beno:BENO",
    "embedded": "opkit.operators.embedded:Embedded",
    "unet": "opkit.operators.unet:UNet",
    "deeponet": "opkit.operators.deeponet.deeponet:DeepONet",
    "pod-deeponet": "opkit.operators.deeponet.pod:PODDeepONet",
    "mionet": "opkit.operators.deeponet.mionet:MIONet",
    "pod-gp": "opkit.operators.pod_gp.pod_gp:PODGP",
    "transolver": "opkit.operators.transolver.transolver:Transolver",
    "gno": "opkit.operators.gno.gno:GNO",
    "multipole-gno": "opkit.operators.gno.multipole:MultipoleGNO",
    "gino": "opkit.operators.gno.gino:GINO",
    "lno": "opkit.operators.gno.gno:LNO",
}
